import type { Loaded, Tf, TfTensor } from './engines.js';
import type { Pass } from './options.js';
import type { Inputs, Setup, Tile } from './setup.js';

export interface Outputs {
  /** [1, H, queries, D] */
  readonly output?: TfTensor;
  readonly q?: TfTensor;
  readonly k?: TfTensor;
  readonly v?: TfTensor;
}

/** One way of computing a pass for all queries of `inputs`. */
export interface Method {
  readonly pass: Pass;
  readonly name: string;
  readonly describe: string;
  /** Whether its time depends on k. */
  readonly usesK: boolean;
  /** Whether tiles of one head after the other are tried too. */
  readonly byHead: boolean;
  /** Largest array of one tile. */
  largestBytes(setup: Setup, tile: Tile): number;
  /** Why this engine does not run it. */
  refuses?(tf: Tf): string | undefined;
  open(loaded: Loaded): Promise<Runner>;
}

export interface Runner {
  /** What it returns is the caller's to dispose of. */
  run(inputs: Inputs, tile: Tile): Outputs;
  close(): void | Promise<void>;
}
