import { describe, expect, test } from 'vitest';
import { BufferPool } from '../../src/runtime/pool.js';

function poolOf(
  /** 0: the default. */
  capBytes = 2 ** 20,
  maxBufferSize = 2 ** 20,
): {
  readonly pool: BufferPool;
  readonly made: GPUBuffer[];
  readonly discarded: GPUBuffer[];
} {
  const made: GPUBuffer[] = [];
  const discarded: GPUBuffer[] = [];
  const pool = new BufferPool({ limits: { maxBufferSize } } as GPUDevice, {
    ...(capBytes > 0 && { capBytes }),
    create: ({ size }) => {
      const buffer = { size, destroy: () => {} } as GPUBuffer;
      made.push(buffer);
      return buffer;
    },
    discard: (buffer) => discarded.push(buffer),
  });
  return { pool, made, discarded };
}

describe('buffers of a pool', () => {
  test('are handed out again, the oldest of a size first', () => {
    const { pool } = poolOf();
    const [a, b] = [pool.acquire(256), pool.acquire(200)];
    pool.release(b);
    pool.release(a);
    expect(pool.pooledBytes).toBe(512);
    expect(pool.acquire(256)).toBe(a);
    expect(pool.acquire(256)).toBe(b);
    expect([pool.pooledBytes, pool.allocatedBytes, pool.peakUsedBytes]).toEqual([0, 512, 512]);
  });

  test('are kept while they are pinned, free or in use', () => {
    const { pool } = poolOf();
    const [free, used] = [pool.acquire(256), pool.acquire(256)];
    pool.release(free);
    pool.pin(free);
    pool.pin(used);
    pool.release(used);
    expect(pool.pooledBytes).toBe(0);
    const fresh = pool.acquire(256);
    expect([free, used]).not.toContain(fresh);
    pool.unpin(free);
    pool.unpin(used);
    expect(pool.pooledBytes).toBe(512);
    expect(pool.acquire(256)).toBe(free);
    expect(pool.acquire(256)).toBe(used);
  });

  test('are in use while they are pinned, which the peak counts', () => {
    const { pool } = poolOf();
    const free = pool.acquire(256);
    pool.release(free);
    pool.acquire(512);
    expect(pool.peakUsedBytes).toBe(512);
    pool.pin(free);
    expect(pool.peakUsedBytes).toBe(768);
  });

  test('need as many unpins as pins, and stay with a user who holds them', () => {
    const { pool } = poolOf();
    const [twice, held] = [pool.acquire(256), pool.acquire(512)];
    for (const buffer of [twice, twice, held]) pool.pin(buffer);
    pool.release(twice);
    pool.unpin(twice);
    expect(pool.acquire(256)).not.toBe(twice);
    pool.unpin(twice);
    expect(pool.acquire(256)).toBe(twice);
    pool.unpin(held);
    expect(pool.acquire(512)).not.toBe(held);
    pool.release(held);
    expect(pool.acquire(512)).toBe(held);
  });

  test('that were in use before a recording are not handed out within it', () => {
    const { pool } = poolOf();
    const [before, ready] = [pool.acquire(256), pool.acquire(256)];
    pool.release(ready);
    pool.beginRecording();
    pool.release(before);
    // What lay ready may be used, and used again.
    expect(pool.acquire(256)).toBe(ready);
    pool.release(ready);
    expect(pool.acquire(256)).toBe(ready);
    expect(pool.acquire(256)).not.toBe(before);
    pool.endRecording();
    expect(pool.acquire(256)).toBe(before);
  });

  test('that a recording pins come back after it only when they are unpinned', () => {
    const { pool } = poolOf();
    const before = pool.acquire(256);
    pool.beginRecording();
    pool.release(before);
    const within = pool.acquire(256);
    pool.release(within);
    pool.pin(before);
    pool.pin(within);
    pool.endRecording();
    expect(pool.pooledBytes).toBe(0);
    pool.unpin(within);
    pool.unpin(before);
    expect(pool.pooledBytes).toBe(512);
    expect([pool.acquire(256), pool.acquire(256)]).toEqual([before, within]);
  });

  test('are not destroyed within a recording, and down to the cap after it', () => {
    const { pool, discarded } = poolOf(300);
    pool.beginRecording();
    const buffers = [pool.acquire(256), pool.acquire(256)];
    for (const buffer of buffers) pool.release(buffer);
    pool.trim();
    expect(discarded).toEqual([]);
    pool.endRecording();
    expect(discarded).toHaveLength(1);
    expect(discarded[0]).toBe(buffers[0]);
    expect(pool.pooledBytes).toBe(256);
  });

  test('above the cap go by disuse, so that a loop keeps scratch larger than all that lies idle', () => {
    const capBytes = 2 ** 18;
    const { pool, made, discarded } = poolOf(capBytes);
    const sizes = [256, 512, 4096, 16_384, 2 ** 15, 2 ** 16];
    const stale = Array.from({ length: 24 }, (_, at) => pool.acquire(sizes[at % sizes.length] as number));
    for (const buffer of stale) pool.release(buffer);
    expect(pool.pooledBytes).toBeGreaterThan(capBytes - 2 ** 16);
    const before = pool.allocatedBytes;
    pool.resetPeak();
    const scratch = 2 ** 17;
    for (let round = 0; round < 100; round++) {
      const both = [pool.acquire(scratch), pool.acquire(200)];
      for (const buffer of both) pool.release(buffer);
      expect(pool.pooledBytes).toBeLessThanOrEqual(capBytes);
      expect(pool.allocatedBytes).toBe(pool.pooledBytes);
    }
    expect(made.filter(({ size }) => size === scratch)).toHaveLength(1);
    expect(discarded.filter(({ size }) => size === scratch)).toHaveLength(0);
    expect(pool.allocatedBytes).toBeLessThan(before + scratch);
    expect(pool.peakUsedBytes).toBe(scratch + 256);
    pool.trim();
    expect([pool.pooledBytes, pool.allocatedBytes]).toEqual([0, 0]);
    expect(new Set(discarded).size).toBe(made.length);
  });

  test('without a cap are kept up to what was once in use, and 2 GiB at least', () => {
    const GiB = 2 ** 30;
    const { pool, made, discarded } = poolOf(0, GiB);
    const step = (): void => {
      const buffers = Array.from({ length: 5 }, () => pool.acquire(GiB));
      for (const buffer of buffers) pool.release(buffer);
    };
    step();
    step();
    expect([made.length, discarded.length, pool.pooledBytes]).toEqual([5, 0, 5 * GiB]);
    // Other sizes: what is allocated stays within what was in use, but for the 2 GiB.
    const others = Array.from({ length: 8 }, () => pool.acquire(GiB / 2));
    expect(pool.allocatedBytes).toBe(6 * GiB);
    for (const buffer of others) pool.release(buffer);
    expect(pool.allocatedBytes).toBe(5 * GiB);
    expect(discarded.map(({ size }) => size)).toEqual([GiB, GiB, GiB, GiB]);
    pool.beginRecording();
    expect(pool.pooledBytes).toBe(2 * GiB);
    pool.endRecording();
  });

  test('are destroyed in the order of their release, but for those taken or pinned since', () => {
    const { pool, discarded } = poolOf();
    const [large, taken, pinned, small] = [1024, 512, 2048, 256].map((size) => pool.acquire(size)) as [
      GPUBuffer,
      GPUBuffer,
      GPUBuffer,
      GPUBuffer,
    ];
    for (const buffer of [taken, pinned, small, large]) pool.release(buffer);
    expect(pool.acquire(512)).toBe(taken);
    pool.pin(pinned);
    pool.trim(1024);
    expect(discarded).toHaveLength(1);
    expect(discarded[0]).toBe(small);
    pool.release(taken);
    pool.unpin(pinned);
    pool.trim();
    expect(discarded.map(({ size }) => size)).toEqual([256, 1024, 512, 2048]);
    expect(pool.pooledBytes).toBe(0);
  });
});
