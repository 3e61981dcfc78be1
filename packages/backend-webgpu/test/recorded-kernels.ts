import { acquireDevice } from '../src/runtime/acquire.js';
import type { DeviceFacts } from '../src/runtime/facts.js';
import type { Kernel } from '../src/runtime/kernel.js';
import { Stream } from '../src/runtime/stream.js';

/**
 * The kernels that `record` launches on a device of these facts, each once, in the order of their first launch. Nothing
 * runs: Dawn's null backend makes buffers on any machine.
 */
export async function recordedKernels(
  facts: Partial<DeviceFacts>,
  record: (stream: Stream) => void,
): Promise<ReadonlyMap<string, Kernel>> {
  const { device } = await acquireDevice({ dawnOptions: ['backend=null'] });
  const stream = new Stream(device);
  Object.defineProperty(stream, 'facts', { value: { ...stream.facts, ...facts } });
  const kernels = new Map<string, Kernel>();
  stream.launch = ({ kernel }) => {
    kernels.set(kernel.key, kernel);
  };
  record(stream);
  device.destroy();
  return kernels;
}
