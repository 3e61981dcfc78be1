/** How far a long call has come. `done` reaches `total` unless the call ends early. */
export interface Progress {
  /** 'download' counts bytes of a file, 'load' weights, 'tokenize' characters of a long text, 'encode' layers of the encoder, 'generate' tokens. */
  readonly stage: 'download' | 'load' | 'tokenize' | 'encode' | 'generate';
  readonly done: number;
  readonly total: number;
  /** The file, where the stage is 'download'. */
  readonly file?: string;
}
