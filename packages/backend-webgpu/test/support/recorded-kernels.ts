import { acquireDevice } from '../../src/runtime/acquire.js';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import { Stream } from '../../src/runtime/stream.js';

/** Dawn's null backend: it runs nothing, but makes buffers and validates shaders of every feature on any machine. */
const dawnOptions = [
  'backend=null',
  'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model',
];

/**
 * The kernels that `record` launches on a device of these facts, each once, in the order of their first launch. Nothing
 * runs; every shader is compiled.
 */
export async function recordedKernels(
  facts: DeviceFacts,
  record: (stream: Stream) => void,
): Promise<readonly Kernel[]> {
  const { device } = await acquireDevice({ dawnOptions });
  const stream = new Stream(device);
  Object.defineProperty(stream, 'facts', { value: facts });
  const kernels = new Map<string, Kernel>();
  stream.launch = ({ kernel }) => {
    const known = kernels.get(kernel.key);
    if (known !== undefined && known.source() !== kernel.source()) {
      throw new Error(`two shaders with the key ${kernel.key}`);
    }
    kernels.set(kernel.key, kernel);
  };
  record(stream);
  for (const { key, source } of kernels.values()) {
    const { messages } = await device.createShaderModule({ code: source() }).getCompilationInfo();
    const texts = messages.map(({ message, lineNum }) => `${lineNum}: ${message}`);
    if (texts.length > 0) throw new Error(`${key}: ${texts.join('; ')}`);
  }
  device.destroy();
  return [...kernels.values()];
}
