import { expect } from 'vitest';
import type { Launch } from '../../src/runtime/kernel.js';
import type { Stream } from '../../src/runtime/stream.js';

/** The stream of a device that binds that many bytes at a time: a launch that binds more fails the test. */
export function narrowBindings(stream: Stream, bindingBytes: number): Stream {
  const limits = { maxStorageBufferBindingSize: bindingBytes };
  return new Proxy(stream, {
    get(target, property) {
      if (property === 'device') return { limits };
      if (property === 'launch') {
        return (launch: Launch) => {
          for (const { offset, size } of launch.buffers) {
            expect(size).toBeLessThanOrEqual(bindingBytes);
            expect(offset % 256).toBe(0);
          }
          target.launch(launch);
        };
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
