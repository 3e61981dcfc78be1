/** How far a long call has come. `done` reaches `total` unless the call ends early. */
export interface Progress {
  /**
   * 'download' counts bytes of a file, 'load' weights, 'tokenize' characters of a long text, 'encode' layers that have read the source or the prompt,
   * 'generate' tokens, 'compare' what `suggestK` and `kErrors` have done.
   */
  readonly stage: 'download' | 'load' | 'tokenize' | 'encode' | 'generate' | 'compare';
  readonly done: number;
  readonly total: number;
  /** The file, where the stage is 'download'. */
  readonly file?: string;
}
