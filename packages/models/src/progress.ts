/** How far a long call is. `total` is what `done` reaches when all of it is needed. */
export interface Progress {
  /** 'load' counts weights, 'tokenize' characters of a long text, 'encode' layers of the encoder, 'generate' tokens. */
  readonly stage: 'load' | 'tokenize' | 'encode' | 'generate';
  readonly done: number;
  readonly total: number;
}
