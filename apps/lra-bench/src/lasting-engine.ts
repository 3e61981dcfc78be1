import { TopKError } from '@topk-attention/core';
import type { Engine } from './host.js';

/** Codes of errors after which an engine may run nothing more: WebGPU submits nothing once memory has run out. */
const LAST_ERRORS: readonly string[] = ['OUT_OF_MEMORY', 'DEVICE_LOST'];

/**
 * An engine for work of many parts, of which some may not fit: after an error that ends the engine another one is opened,
 * so that what comes later does not fail with it. The caller disposes of it.
 */
export class LastingEngine {
  readonly #open: () => Promise<Engine>;
  readonly #description: string;
  #current: Engine | undefined;

  /**
   * @param first open already
   * @param open opens an engine like the first
   */
  constructor(first: Engine, open: () => Promise<Engine>) {
    this.#current = first;
    this.#description = first.info.description;
    this.#open = open;
  }

  /**
   * The engine to use next. Tensors of an earlier one are gone.
   *
   * @throws TopKError NO_DEVICE if another engine opens than before: numbers of two engines are not mixed; whatever
   * opening throws
   */
  async current(): Promise<Engine> {
    if (this.#current !== undefined) return this.#current;
    const engine = await this.#open();
    this.#current = engine;
    const { description } = engine.info;
    if (description !== this.#description) {
      throw new TopKError('NO_DEVICE', 'the engine does not open again after an error', {
        expected: this.#description,
        got: description,
        fix: 'Name the backend with --backend, and start again',
      });
    }
    return engine;
  }

  /** Lets go of the engine if it may run nothing after this error. Dispose of its tensors before. */
  async failed(error: unknown): Promise<void> {
    if (!(error instanceof TopKError) || !LAST_ERRORS.includes(error.code)) return;
    // What a broken engine still has to say is no news.
    await this.dispose().catch(() => {});
  }

  async dispose(): Promise<void> {
    const engine = this.#current;
    this.#current = undefined;
    await engine?.backend.dispose();
  }
}
