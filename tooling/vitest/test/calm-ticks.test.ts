import { spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { calmTicks } from '../src/calm-ticks.mjs';
import { optional } from '../src/optional.ts';
import { softwareGpuAvailability, softwareGpuEnvironment } from '../src/software-gpu.ts';

const calm = calmTicks(setImmediate);

/** Polls as Dawn does: a native function that queues itself again. Bound functions count as native. */
function poll(ticks: number): Promise<void> {
  return new Promise((resolve) => {
    let left = ticks;
    const tick = (): void => {
      left--;
      if (left === 0) resolve();
      else calm(tick.bind(null));
    };
    calm(tick.bind(null));
  });
}

test('a wait is polled at once, then every millisecond; the next wait is eager again', async () => {
  const start = performance.now();
  await poll(120);
  // Timers may be early by a fraction of a millisecond.
  expect(performance.now() - start).toBeGreaterThan(50);
  let immediates = 0;
  const counting = calmTicks(((callback: () => void) => {
    immediates++;
    return setImmediate(callback);
  }) as typeof setImmediate);
  const native = (() => {}).bind(null);
  for (let wait = 0; wait < 40; wait++) counting(native);
  expect(immediates).toBe(40);
});

test('functions in JavaScript are called at once with their arguments, and can be cleared', async () => {
  let got: unknown;
  const cleared = calm(() => {
    got = 'not cleared';
  });
  clearImmediate(cleared);
  await new Promise((resolve) => calm(resolve, 1));
  expect(got).toBeUndefined();
  expect(await new Promise((resolve) => calm(resolve, 'argument'))).toBe('argument');
  expect(await promisify(calm)('value')).toBe('value');
});

optional('processes with the software GPU have it', softwareGpuAvailability(), () => {
  const env = { ...process.env, ...softwareGpuEnvironment() };
  const { stdout } = spawnSync(process.execPath, ['-p', 'setImmediate.name'], { env, encoding: 'utf8' });
  expect(stdout).toBe('calm\n');
});
