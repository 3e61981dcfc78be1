import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { TopKError } from '@topk-attention/core';
import { ReportedError } from '../errors.js';
import type { CallOptions, Contract, FromEngine, ToEngine } from '../protocol.js';

/** Lines of the child's standard error that an error quotes. */
const QUOTED_LINES = 5;

/** What an error advises when the child ends before it has answered. */
export interface CrashAdvice {
  /** For a killed child: most likely it used too much memory. */
  readonly outOfMemory: string;
  readonly crashed: string;
}

/**
 * An engine in a separate process. Its peak memory is its own, a crash of the engine becomes an error here, and an
 * abort takes effect at once, even while the engine is computing and reads no messages.
 */
export class ChildEngine<C extends Contract<C>> {
  readonly #child: ChildProcess;
  readonly #stderr: string[] = [];
  readonly #advice: CrashAdvice;

  /** @param module what the child runs: a JavaScript file that calls `serveParent` */
  constructor(module: URL, advice: CrashAdvice) {
    this.#advice = advice;
    this.#child = fork(module, [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
      // ONNX Runtime would send usage data.
      env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr.push(...text.split('\n').filter((line) => line.trim() !== ''));
      this.#stderr.splice(0, this.#stderr.length - QUOTED_LINES);
    });
  }

  /**
   * Makes one call and waits for its result; the previous call must have been answered.
   *
   * @throws ReportedError what the child reports; TopKError OUT_OF_MEMORY or ENGINE_FAILURE when the process ends; the
   * AbortSignal's reason when aborted, and the process is then gone.
   */
  call<N extends keyof C>(
    name: N,
    argument: C[N]['argument'],
    { signal, onEvent }: CallOptions<C[N]['event']> = {},
  ): Promise<C[N]['result']> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        child.off('message', onMessage).off('exit', onExit).off('error', onError);
        signal?.removeEventListener('abort', onAbort);
        finish();
      };
      const onMessage = (reply: FromEngine<C, N>): void => {
        if ('event' in reply) onEvent?.(reply.event);
        else if ('error' in reply) settle(() => reject(new ReportedError(reply.error)));
        else settle(() => resolve(reply.result));
      };
      const onExit = (code: number | null, signalName: NodeJS.Signals | null): void =>
        settle(() => reject(this.#crash(code, signalName)));
      const onError = (error: Error): void => settle(() => reject(error));
      const onAbort = (): void => {
        child.kill('SIGKILL');
        settle(() => reject(signal?.reason));
      };
      child.on('message', onMessage).on('exit', onExit).on('error', onError);
      signal?.addEventListener('abort', onAbort, { once: true });
      const message: ToEngine<C, N> = { call: name, argument };
      if (signal?.aborted) onAbort();
      else if (this.#isGone()) onExit(child.exitCode, child.signalCode);
      // Sending fails only if the process is gone, and its exit says why.
      else child.send(message, () => {});
    });
  }

  /** Ends the process and waits until it is gone; idempotent. */
  async dispose(): Promise<void> {
    if (this.#isGone()) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  #isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #crash(code: number | null, signal: NodeJS.Signals | null): TopKError {
    // The kernel's out-of-memory killer sends SIGKILL.
    const isKilled = signal === 'SIGKILL';
    const quoted = this.#stderr.length > 0 ? `: ${this.#stderr.join(' | ')}` : '';
    return new TopKError(
      isKilled ? 'OUT_OF_MEMORY' : 'ENGINE_FAILURE',
      'the child process that runs the model ended',
      {
        expected: 'an answer',
        got: signal ?? `exit code ${code}${quoted}`,
        fix: isKilled ? this.#advice.outOfMemory : this.#advice.crashed,
      },
    );
  }
}
