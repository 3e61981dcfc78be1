import { ChildEngine, type CrashAdvice } from '@topk-attention/app-kit/node';
import type { InspectContract, InspectResult } from './inspect-protocol.js';
import type { Progress } from './protocol.js';

const advice: CrashAdvice = {
  outOfMemory: 'Use a shorter prompt or a smaller model',
  crashed: 'Try --backend reference',
};

/** Inspects a model in a process of its own. @throws as `ChildEngine.call`. */
export async function inspectInChild(
  argument: InspectContract['inspect']['argument'],
  signal: AbortSignal,
  onEvent: (event: Progress) => void,
): Promise<InspectResult> {
  signal.throwIfAborted();
  const child = new ChildEngine<InspectContract>(new URL('./inspect-child-main.js', import.meta.url), advice);
  try {
    return await child.call('inspect', argument, { signal, onEvent });
  } finally {
    await child.dispose();
  }
}
