import { afterEach, describe, expect, it, vi } from 'vitest';
import { CalmWaiting, type EventLoop } from '../../src/runtime/calm-waiting.js';

/** An event loop whose turns and clock a test makes. */
class Turns implements EventLoop {
  time = 0;
  readonly slept: number[] = [];
  #calls: (() => void)[] = [];

  next(call: () => void): void {
    this.#calls.push(call);
  }

  sleep(ms: number): void {
    this.slept.push(ms);
    this.time += ms;
  }

  now(): number {
    return this.time;
  }

  /** @param busyMs what other work takes in this turn */
  turn(busyMs = 0.01): number {
    this.time += busyMs;
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) call();
    return calls.length;
  }
}

/** A promise to be resolved, and whether it was. */
function open(): { readonly promise: Promise<number>; resolve(value: number): void } {
  let resolve: (value: number) => void = () => {};
  const promise = new Promise<number>((own) => {
    resolve = own;
  });
  return { promise, resolve: (value) => resolve(value) };
}

describe('waits', () => {
  it('draw turns out in proportion to the time waited', async () => {
    const loop = new Turns();
    const { promise, resolve } = open();
    const waited = new CalmWaiting(loop).during(promise);
    let turns = 0;
    while (loop.time < 100) {
      loop.turn();
      turns++;
    }
    const [first = 0] = loop.slept;
    expect(first).toBeGreaterThanOrEqual(0.05);
    expect(first).toBeLessThan(0.06);
    expect(Math.max(...loop.slept)).toBe(0.5);
    // 320 turns until a sleep is worth it, then some 150 of a logarithm, and 130 of half a millisecond.
    expect(turns).toBeLessThan(800);
    resolve(7);
    expect(await waited).toBe(7);
  });

  it('leave short ones alone', () => {
    const loop = new Turns();
    void new CalmWaiting(loop).during(open().promise);
    while (loop.time < 3) loop.turn();
    expect(loop.slept).toEqual([]);
  });

  it('leave turns alone that have other work', () => {
    const loop = new Turns();
    void new CalmWaiting(loop).during(open().promise);
    while (loop.time < 100) loop.turn(0.3);
    expect(loop.slept).toEqual([]);
  });

  it('begin anew with each wait, and end with the last', async () => {
    const loop = new Turns();
    const waiting = new CalmWaiting(loop);
    const [one, other] = [open(), open()];
    const first = waiting.during(one.promise);
    while (loop.time < 50) loop.turn();
    const before = loop.slept.length;
    const second = waiting.during(other.promise);
    while (loop.time < 53) expect(loop.turn()).toBe(1);
    expect(loop.slept.length).toBe(before);
    one.resolve(1);
    await first;
    expect(loop.turn()).toBe(1);
    other.resolve(2);
    await second;
    expect(loop.turn()).toBe(1);
    expect(loop.turn()).toBe(0);
  });

  it('pass failures on', async () => {
    const loop = new Turns();
    const failed = new CalmWaiting(loop).during(Promise.reject(new Error('lost')));
    await expect(failed).rejects.toThrow('lost');
    loop.turn();
    expect(loop.turn()).toBe(0);
  });

  it('need an event loop that polls', async () => {
    expect(await new CalmWaiting(undefined).during(Promise.resolve(3))).toBe(3);
  });
});

describe('turns are left alone', () => {
  afterEach(() => void vi.unstubAllGlobals());
  /** Of a wait that is long enough for some. */
  const sleeps = async (): Promise<number> => {
    const blocked = vi.spyOn(Atomics, 'wait');
    await new CalmWaiting().during(new Promise((resolve) => setTimeout(resolve, 100)));
    const lasting = blocked.mock.calls.filter(([, , , ms]) => ms !== 0).length;
    blocked.mockRestore();
    return lasting;
  };

  it.each([
    ['document', {}],
    ['WorkerGlobalScope', {}],
    ['SharedArrayBuffer', undefined],
    ['setImmediate', undefined],
    ['process', { versions: {} }],
    ['process', { versions: { node: '22.0.0', bun: '1.0.0' } }],
  ])('where %s is %j', async (name, value) => {
    vi.stubGlobal(name, value);
    expect(await sleeps()).toBe(0);
  });

  it('where a thread may not block', async () => {
    const wait = vi.spyOn(Atomics, 'wait').mockImplementation(() => {
      throw new TypeError('Atomics.wait cannot be called in this context');
    });
    const waiting = new CalmWaiting();
    const before = wait.mock.calls.length;
    expect(await waiting.during(new Promise((resolve) => setTimeout(() => resolve(5), 50)))).toBe(5);
    expect(wait.mock.calls.length).toBe(before);
    wait.mockRestore();
  });

  it('but not in Node', async () => expect(await sleeps()).toBeGreaterThan(0));
});

it('turns of Node are few while nothing else runs', async () => {
  const turnsIn = async (wait: (promise: Promise<void>) => Promise<void>): Promise<number> => {
    let turns = 0;
    let isOpen = true;
    const count = (): void => {
      turns++;
      if (isOpen) setImmediate(count);
    };
    setImmediate(count);
    await wait(new Promise((resolve) => setTimeout(resolve, 200)));
    isOpen = false;
    return turns;
  };
  const plain = await turnsIn((promise) => promise);
  const calm = await turnsIn((promise) => new CalmWaiting().during(promise));
  expect(calm).toBeLessThan(plain / 4);
});
