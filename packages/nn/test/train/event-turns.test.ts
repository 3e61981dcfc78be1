import { afterEach, expect, test, vi } from 'vitest';
import { EventTurns } from '../../src/train/event-turns.js';

afterEach(() => vi.unstubAllGlobals());

/** Computes for so many milliseconds. */
function compute(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

// Node has both ways; browsers have messages alone.
test.each(['setImmediate', 'MessageChannel'])(
  'timers get their turn while nothing waits, by %s',
  async (way) => {
    if (way === 'MessageChannel') vi.stubGlobal('setImmediate', undefined);
    const events = new EventTurns();
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
  },
);

test('steps that are short wait for nothing', async () => {
  const events = new EventTurns();
  let isLater = false;
  setImmediate(() => {
    isLater = true;
  });
  await events.giveWay();
  events.dispose();
  expect(isLater).toBe(false);
});
