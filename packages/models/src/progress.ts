/** How far a long call has come. `done` reaches `total` unless the call ends early. */
export interface Progress {
  /** 'load' counts weights, 'tokenize' characters of a long text, 'encode' layers of the encoder, 'generate' tokens. */
  readonly stage: 'load' | 'tokenize' | 'encode' | 'generate';
  readonly done: number;
  readonly total: number;
}
