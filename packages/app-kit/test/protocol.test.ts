import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { answerCall, type FromEngine, type Handlers } from '../src/protocol.js';

interface Sums {
  readonly add: { readonly argument: readonly number[]; readonly result: number; readonly event: string };
  readonly fail: { readonly argument: null; readonly result: never; readonly event: never };
}

const handlers: Handlers<Sums> = {
  async add(numbers, onEvent) {
    let sum = 0;
    for (const one of numbers) {
      sum += one;
      onEvent(`so far ${sum}`);
    }
    return sum;
  },
  async fail() {
    throw new TopKError('DOES_NOT_FIT', 'too large', { fix: 'Use less' });
  },
};

test('events come first, then the result', async () => {
  const replies: FromEngine<Sums>[] = [];
  await answerCall(handlers, { call: 'add', argument: [1, 2] }, (reply) => replies.push(reply));
  expect(replies).toEqual([{ event: 'so far 1' }, { event: 'so far 3' }, { result: 3 }]);
});

test('an error is a reply', async () => {
  const replies: FromEngine<Sums>[] = [];
  await answerCall(handlers, { call: 'fail', argument: null }, (reply) => replies.push(reply));
  expect(replies).toEqual([{ error: { code: 'DOES_NOT_FIT', message: 'too large.', fix: 'Use less' } }]);
});
