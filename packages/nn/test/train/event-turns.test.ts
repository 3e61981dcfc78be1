import { expect, test } from 'vitest';
import { EventTurns, type TurnWays } from '../../src/train/event-turns.js';

/** Computes for so many milliseconds. */
function compute(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

const { MessageChannel } = globalThis as unknown as TurnWays;

// Node has both ways, browsers have messages alone.
test.each([
  ['setImmediate', { setImmediate, MessageChannel }],
  ['messages', { MessageChannel }],
] as const)('timers get their turn while nothing waits, by %s', async (_, ways) => {
  const events = new EventTurns(ways);
  let isDue = false;
  const timer = setTimeout(() => {
    isDue = true;
  }, 5);
  for (let step = 0; step < 20 && !isDue; step++) {
    compute(15);
    await events.giveWay();
  }
  events.dispose();
  clearTimeout(timer);
  expect(isDue).toBe(true);
});

test('no turn is a timer, and short steps take none', async () => {
  let turns = 0;
  const countedImmediate = (call: () => void): void => {
    turns++;
    call();
  };
  const events = new EventTurns({ setImmediate: countedImmediate, MessageChannel });
  await events.giveWay();
  expect(turns).toBe(0);
  compute(25);
  await events.giveWay();
  expect(turns).toBe(1);
  events.dispose();
});
