import { TopKError } from '@topk-attention/core';
import { peakBytes } from '../../src/node/peak-memory.js';
import { serveParent } from '../../src/node/serve-parent.js';

/** What the child process of the tests can be asked. */
export interface EchoContract {
  readonly echo: { readonly argument: string; readonly result: string; readonly event: number };
  readonly fail: { readonly argument: null; readonly result: never; readonly event: never };
  /** Computes and hears nothing. */
  readonly hang: { readonly argument: null; readonly result: never; readonly event: 'begun' };
  readonly exit: { readonly argument: number; readonly result: never; readonly event: never };
  readonly kill: { readonly argument: NodeJS.Signals; readonly result: never; readonly event: never };
  /** Peak memory with that many bytes held for a moment. */
  readonly hold: { readonly argument: number; readonly result: number; readonly event: never };
}

const never = (): Promise<never> => new Promise(() => {});

await serveParent<EchoContract>({
  async echo(text, onEvent) {
    for (const at of [...text].keys()) onEvent(at);
    return text;
  },
  async fail() {
    throw new TopKError('DOES_NOT_FIT', 'too large', { fix: 'Use less' });
  },
  async hang(_argument, onEvent) {
    onEvent('begun');
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (;;);
  },
  async exit(code) {
    process.stderr.write('last words\n', () => process.exit(code));
    return never();
  },
  async kill(signal) {
    process.kill(process.pid, signal);
    return never();
  },
  async hold(bytes) {
    new Uint8Array(bytes).fill(1);
    return peakBytes();
  },
});
