import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { openEngine } from '../../src/commands/open-engine.js';

test('a slower engine than expected is named', async () => {
  const said: string[] = [];
  const io = {
    stdin: process.stdin,
    stdout: { write: () => {} },
    stderr: { write: (text: string) => said.push(text) },
    signal: new AbortController().signal,
  };
  const backend = createReferenceBackend();
  const info = { backend: 'reference', description: 'reference', fallback: 'not installed' } as const;
  const host = { version: '0', openEngine: async () => ({ backend, info }) };
  expect((await openEngine(host, { backend: 'auto' }, io)).backend).toBe(backend);
  expect(said.join('')).toMatch(/^Warning: running on the slow reference backend/);
});
