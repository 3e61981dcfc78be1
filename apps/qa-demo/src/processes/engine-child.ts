import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import type {
  Answer,
  AnswerEvents,
  AnswerRequest,
  Engine,
  EngineInfo,
  EngineSettings,
} from '../engine/types.js';
import { ReportedError } from '../output/errors.js';
import type { FromChild, ToChild } from './messages.js';

/** The internal command that the child process runs: see commands/engine-host.ts. */
export const ENGINE_HOST = 'engine-host';

/** Lines of the child's standard error that an error quotes. */
const QUOTED_LINES = 5;

/**
 * A model in a process of its own. Its peak memory is its own; a crash of the engine becomes an error here; and an abort
 * takes effect at once, also while the engine computes and hears nothing.
 */
export class EngineChild implements Engine {
  readonly info: EngineInfo;
  readonly #child: ChildProcess;
  readonly #stderr: string[];

  private constructor(child: ChildProcess, stderr: string[], info: EngineInfo) {
    this.#child = child;
    this.#stderr = stderr;
    this.info = info;
  }

  /** Starts the process and opens the model. @throws ReportedError what the child reports; TopKError ENGINE_FAILURE. */
  static async start(
    settings: EngineSettings,
    signal: AbortSignal,
    events: Pick<AnswerEvents, 'onProgress'> = {},
  ): Promise<EngineChild> {
    signal.throwIfAborted();
    const cli = fileURLToPath(new URL('../cli.js', import.meta.url));
    const child = fork(cli, [ENGINE_HOST], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
      // ONNX Runtime would send usage data.
      env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    });
    const stderr: string[] = [];
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr.push(...text.split('\n').filter((line) => line.trim() !== ''));
      stderr.splice(0, stderr.length - QUOTED_LINES);
    });
    try {
      const opened = await request(child, stderr, { type: 'open', settings }, signal, 'opened', events);
      return new EngineChild(child, stderr, opened.info);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** @throws as `start`; the AbortSignal's reason when aborted, and the process is then gone. */
  async answer(ask: AnswerRequest, events: AnswerEvents, signal: AbortSignal): Promise<Answer> {
    const message = { type: 'answer', request: ask } as const;
    return (await request(this.#child, this.#stderr, message, signal, 'answered', events)).answer;
  }

  /** Ends the process and waits until it is gone. */
  async dispose(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

/** Sends one message and waits for the reply of the wanted type. */
function request<T extends FromChild['type']>(
  child: ChildProcess,
  stderr: readonly string[],
  message: ToChild,
  signal: AbortSignal,
  wanted: T,
  events: AnswerEvents = {},
): Promise<Extract<FromChild, { type: T }>> {
  return new Promise((resolve, reject) => {
    const onMessage = (reply: FromChild): void => {
      if (reply.type === 'text') events.onText?.(reply.piece);
      else if (reply.type === 'progress') events.onProgress?.(reply.stage, reply.done, reply.total);
      else if (reply.type === 'started') events.onStart?.(reply.promptTokens, reply.known);
      else if (reply.type === 'failed') settle(() => reject(new ReportedError(reply.error)));
      else if (isOfType(reply, wanted)) settle(() => resolve(reply));
    };
    const onGone = (code: number | null, signalName: NodeJS.Signals | null): void => {
      settle(() => reject(crashed(code, signalName, stderr)));
    };
    const onError = (error: Error): void => settle(() => reject(error));
    const onAbort = (): void => {
      child.kill('SIGKILL');
      settle(() => reject(signal.reason));
    };
    const settle = (finish: () => void): void => {
      child.off('message', onMessage).off('exit', onGone).off('error', onError);
      signal.removeEventListener('abort', onAbort);
      finish();
    };
    child.on('message', onMessage).on('exit', onGone).on('error', onError);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    // Sending fails only where the process is gone, and its exit says why.
    else child.send(message, () => {});
  });
}

function isOfType<T extends FromChild['type']>(
  reply: FromChild,
  type: T,
): reply is Extract<FromChild, { type: T }> {
  return reply.type === type;
}

function crashed(code: number | null, signal: NodeJS.Signals | null, stderr: readonly string[]): TopKError {
  // The kernel's out-of-memory killer sends SIGKILL.
  const isKilled = signal === 'SIGKILL';
  return new TopKError(
    isKilled ? 'OUT_OF_MEMORY' : 'ENGINE_FAILURE',
    'the child process that runs the model ended',
    {
      expected: 'an answer',
      got:
        signal === null ? `exit code ${code}${stderr.length > 0 ? `: ${stderr.join(' | ')}` : ''}` : signal,
      fix: isKilled
        ? 'Use --budget-bytes, a smaller --attention-k or a shorter text'
        : 'Try --backend reference',
    },
  );
}
