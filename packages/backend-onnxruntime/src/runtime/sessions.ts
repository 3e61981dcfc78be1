import type { CompiledModel } from '../onnx/compile.js';
import { engineError, usedAfterDispose } from './errors.js';
import type { OrtModule, OrtSession, OrtTensor } from './ort.js';
import { runSession } from './run-session.js';

export interface SessionStatistics {
  /** Sessions created so far. */
  readonly sessionsCompiled: number;
  /** Calls of `session.run` so far. */
  readonly runs: number;
  /** Bytes that came back from sessions into JavaScript so far. */
  readonly bytesOut: number;
  /** Time spent in `session.run` so far. */
  readonly runMilliseconds: number;
}

/** A session to run, by structure. */
export interface SessionSpec {
  readonly key: string;
  compile(): CompiledModel;
  /** Estimate of the memory that the engine keeps for the session between runs. */
  readonly arenaBytes: number;
}

interface Entry {
  readonly session: OrtSession;
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly arenaBytes: number;
}

export interface SessionLimits {
  readonly count: number;
  readonly arenaBytes: number;
}

/**
 * Compiled sessions, found by structure. The least recently used are released when there are too many, or when their
 * arenas (one per session) hold too much memory. Calls must not overlap.
 */
export class Sessions {
  readonly #ort: OrtModule;
  readonly #options: { readonly [option: string]: unknown };
  readonly #limits: SessionLimits;
  readonly #entries = new Map<string, Entry>();
  #arenaBytes = 0;
  #sessionsCompiled = 0;
  #runs = 0;
  #bytesOut = 0;
  #runMilliseconds = 0;
  #isClosed = false;

  constructor(ort: OrtModule, options: { readonly [option: string]: unknown }, limits: SessionLimits) {
    this.#ort = ort;
    this.#options = options;
    this.#limits = limits;
  }

  statistics(): SessionStatistics {
    return {
      sessionsCompiled: this.#sessionsCompiled,
      runs: this.#runs,
      bytesOut: this.#bytesOut,
      runMilliseconds: this.#runMilliseconds,
    };
  }

  async run(spec: SessionSpec, inputs: readonly OrtTensor[]): Promise<readonly OrtTensor[]> {
    if (this.#isClosed) throw usedAfterDispose();
    const { session, inputNames, outputNames } = await this.#session(spec);
    const feeds: { [name: string]: OrtTensor } = {};
    for (const [index, name] of inputNames.entries()) feeds[name] = inputs[index] as OrtTensor;
    this.#runs++;
    let results: { readonly [name: string]: OrtTensor };
    const started = performance.now();
    try {
      results = await runSession(this.#ort, session, feeds, outputNames);
    } catch (error) {
      throw engineError(error, 'session.run');
    } finally {
      this.#runMilliseconds += performance.now() - started;
    }
    return outputNames.map((name) => {
      const result = results[name] as OrtTensor;
      if (result.location === 'cpu') this.#bytesOut += (result.data as ArrayBufferView).byteLength;
      return result;
    });
  }

  async #session({ key, compile, arenaBytes }: SessionSpec): Promise<Entry> {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, known);
      return known;
    }
    const { model, inputNames, outputNames } = compile();
    let session: OrtSession;
    try {
      session = await this.#ort.InferenceSession.create(model, this.#options);
    } catch (error) {
      throw engineError(error, 'InferenceSession.create');
    }
    this.#sessionsCompiled++;
    const entry = { session, inputNames, outputNames, arenaBytes };
    this.#entries.set(key, entry);
    this.#arenaBytes += arenaBytes;
    await this.#evict();
    return entry;
  }

  /** Never evicts the newest session, however large it is. */
  async #evict(): Promise<void> {
    for (const [key, { session, arenaBytes }] of this.#entries) {
      const fits = this.#entries.size <= this.#limits.count && this.#arenaBytes <= this.#limits.arenaBytes;
      if (fits || this.#entries.size === 1) return;
      this.#entries.delete(key);
      this.#arenaBytes -= arenaBytes;
      await session.release();
    }
  }

  /** Prevents further runs; work that takes several runs ends after the current one. */
  close(): void {
    this.#isClosed = true;
  }

  /** Releases all sessions. Call it only when nothing is running. */
  async dispose(): Promise<void> {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const { session } of entries) await session.release();
  }
}
