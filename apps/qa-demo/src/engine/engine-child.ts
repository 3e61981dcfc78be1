import { ChildEngine, type CrashAdvice } from '@topk-attention/app-kit/node';
import type {
  Answer,
  AnswerEvent,
  AnswerRequest,
  EngineContract,
  EngineInfo,
  EngineSettings,
  Progress,
  Suggestion,
  SuggestRequest,
} from './protocol.js';

const advice: CrashAdvice = {
  outOfMemory: 'Use --budget-bytes, a smaller --attention-k or a shorter text',
  crashed: 'Try --backend reference',
};

/** A model in a separate process. */
export class EngineChild {
  readonly info: EngineInfo;
  readonly #child: ChildEngine<EngineContract>;

  private constructor(child: ChildEngine<EngineContract>, info: EngineInfo) {
    this.#child = child;
    this.info = info;
  }

  /** Starts the process and opens the model. @throws as `ChildEngine.call`. */
  static async start(
    settings: EngineSettings,
    signal: AbortSignal,
    onEvent: (event: Progress) => void = () => {},
  ): Promise<EngineChild> {
    signal.throwIfAborted();
    const child = new ChildEngine<EngineContract>(new URL('./child-main.js', import.meta.url), advice);
    try {
      return new EngineChild(child, await child.call('open', settings, { signal, onEvent }));
    } catch (error) {
      await child.dispose();
      throw error;
    }
  }

  /** @throws as `ChildEngine.call`. */
  answer(
    request: AnswerRequest,
    signal: AbortSignal,
    onEvent: (event: AnswerEvent) => void = () => {},
  ): Promise<Answer> {
    return this.#child.call('answer', request, { signal, onEvent });
  }

  /** @throws as `ChildEngine.call`. */
  suggest(
    request: SuggestRequest,
    signal: AbortSignal,
    onEvent: (event: Progress) => void = () => {},
  ): Promise<Suggestion> {
    return this.#child.call('suggest', request, { signal, onEvent });
  }

  /** Ends the process and waits until it is gone. */
  dispose(): Promise<void> {
    return this.#child.dispose();
  }
}
