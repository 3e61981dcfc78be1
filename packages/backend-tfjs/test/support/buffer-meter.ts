import type { Tf } from '../../src/index.js';

type CpuBackend = Pick<ReturnType<Tf['backend']>, 'write' | 'disposeData'>;

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, extent) => size * extent, 1);

/**
 * Largest bytes of the buffers of tf's cpu engine since `restart`, those that an op makes for itself included:
 * tf.memory() counts a reshaped tensor twice, and knows no buffers of ops.
 */
export function bufferMeter(tf: Tf): { restart(): void; peak(): number } {
  const cpu: CpuBackend = tf.backend();
  const write = cpu.write.bind(cpu);
  const disposeData = cpu.disposeData.bind(cpu);
  const sizes = new WeakMap<object, number>();
  let live = 0;
  let largest = 0;
  cpu.write = (values, shape, dtype) => {
    const id = write(values, shape, dtype);
    const bytes = sizeOf(shape) * (dtype === 'bool' ? 1 : 4);
    sizes.set(id, bytes);
    live += bytes;
    largest = Math.max(largest, live);
    return id;
  };
  cpu.disposeData = (id, force) => {
    const isGone = disposeData(id, force);
    if (isGone) {
      live -= sizes.get(id) ?? 0;
      sizes.delete(id);
    }
    return isGone;
  };
  return {
    restart: () => {
      live = 0;
      largest = 0;
    },
    peak: () => largest,
  };
}
