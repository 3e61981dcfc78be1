import { TopKError } from '@topk-attention/core';
import { serveWorker, type WorkerScope } from '../../src/serve-worker.js';
import type { EchoContract } from './contract.js';

declare const self: WorkerScope;

serveWorker<EchoContract>(
  {
    async echo(text, onEvent) {
      for (const at of [...text].keys()) onEvent(at);
      return text;
    },
    async fail() {
      throw new TopKError('DOES_NOT_FIT', 'too large', { fix: 'Use less' });
    },
    async hang(_argument, onEvent) {
      onEvent('begun');
      await new Promise((resolve) => setTimeout(resolve, 20));
      for (;;);
    },
    async crash() {
      setTimeout(() => {
        throw new Error('last words');
      });
      return new Promise(() => {});
    },
  },
  self,
);
