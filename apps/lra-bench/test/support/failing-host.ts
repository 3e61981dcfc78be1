import { type Backend, TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { Host } from '../../src/host.js';

/** Calls that an engine answers even when nothing runs any more. */
const ANSWERED: readonly string[] = ['memory', 'resetPeak', 'release', 'flush'];

/** A reference backend that fails when it is first waited for, and in everything after that, even in its end. */
export function failingBackend(code: 'OUT_OF_MEMORY' | 'DEVICE_LOST'): Backend {
  const sound: Backend = createReferenceBackend();
  let failed = false;
  const calls = Object.entries(sound).map(([name, value]) => {
    if (typeof value !== 'function' || ANSWERED.includes(name)) return [name, value];
    const call = (...given: readonly unknown[]): unknown => {
      failed ||= name === 'evaluate' || name === 'read';
      if (failed) throw new TopKError(code, `fake: ${name} on an engine that has failed`);
      return value(...given);
    };
    return [name, call];
  });
  return { ...sound, ...Object.fromEntries(calls) };
}

/** A host whose first engine fails as `failingBackend`; those opened later are sound. */
export function failingHost(code: 'OUT_OF_MEMORY' | 'DEVICE_LOST' = 'OUT_OF_MEMORY'): Host & {
  /** Engines opened so far. */
  readonly opened: () => number;
} {
  let opened = 0;
  return {
    version: '0',
    openEngine: async () => ({
      backend: opened++ === 0 ? failingBackend(code) : createReferenceBackend(),
      info: { backend: 'reference', description: 'fake' },
    }),
    opened: () => opened,
  };
}
