import { ReportedError, reportOf } from '@topk-attention/app-kit';
import { type Engine, openEngine } from '../src/engine/open-engine.js';
import type {
  Answer,
  AnswerEvent,
  AnswerRequest,
  EngineInfo,
  EngineSettings,
  Progress,
  Suggestion,
  SuggestRequest,
} from '../src/engine/protocol.js';

const opened = new Map<string, Promise<Engine>>();

/**
 * Stands in for the `EngineChild` of src: the same engine, in the process of the test, and one for all commands with the
 * same settings. For tests of what a command says; what a process of its own is for, they see in real processes.
 */
export class EngineChild {
  readonly info: EngineInfo;
  readonly #engine: Engine;

  private constructor(engine: Engine) {
    this.info = asSent(engine.info);
    this.#engine = engine;
  }

  static async start(
    settings: EngineSettings,
    signal: AbortSignal,
    onEvent: (event: Progress) => void = () => {},
  ): Promise<EngineChild> {
    signal.throwIfAborted();
    const key = JSON.stringify(settings);
    const engine = opened.get(key) ?? openEngine(settings, onEvent);
    opened.set(key, engine);
    return new EngineChild(await reported(engine));
  }

  async answer(
    request: AnswerRequest,
    _signal: AbortSignal,
    onEvent: (event: AnswerEvent) => void = () => {},
  ): Promise<Answer> {
    return asSent(await reported(this.#engine.answer(asSent(request), (event) => onEvent(asSent(event)))));
  }

  async suggest(
    request: SuggestRequest,
    _signal: AbortSignal,
    onEvent: (event: Progress) => void = () => {},
  ): Promise<Suggestion> {
    return asSent(await reported(this.#engine.suggest(asSent(request), (event) => onEvent(asSent(event)))));
  }

  async dispose(): Promise<void> {}
}

/** What is left of a value on its way between processes. */
function asSent<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

/** An error as the other process would report it. */
function reported<T>(work: Promise<T>): Promise<T> {
  return work.catch((error: unknown) => {
    throw new ReportedError(asSent(reportOf(error)));
  });
}
