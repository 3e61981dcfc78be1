import type { BackendInfo, BackendSettings } from '@topk-attention/app-kit';
import type { Backend } from '@topk-attention/core';

/** An engine that runs. */
export interface Engine {
  readonly backend: Backend;
  readonly info: BackendInfo;
  /** Most bytes on the device so far, for engines that keep their memory there. */
  readonly gpuBytes?: () => number;
}

/** What the program gets from where it runs. */
export interface Host {
  /** Of this program. */
  readonly version: string;
  /** Opens the engine that the user asked for. */
  readonly openEngine: (settings: BackendSettings) => Promise<Engine>;
}
