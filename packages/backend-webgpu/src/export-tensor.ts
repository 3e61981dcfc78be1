import type { Stream } from './runtime/stream.js';
import type { GpuBufferTensor, WebGpuTensor } from './tensor.js';

/**
 * The buffer of a tensor, which from now on also belongs to the caller; work on it is submitted. Where others use the
 * buffer too, the caller gets a copy.
 */
export async function exportTensor(stream: Stream, x: WebGpuTensor): Promise<GpuBufferTensor> {
  stream.requireNotRecording('an export');
  const { pool } = stream;
  const { storage, shape, dtype } = x;
  let { span } = x;
  const isRecorded = storage.owner === 'own' && pool.isPinned(span.buffer);
  if (storage.owner === 'constant' || x.isWindow || isRecorded) {
    const copy = stream.scratch(span.size);
    stream.copy({ ...span, size: copy.size }, copy);
    span = copy;
    pool.forget(span.buffer);
  } else if (storage.owner === 'own') {
    storage.owner = 'exported';
    pool.forget(span.buffer);
  }
  await stream.submitted();
  return { ...span, shape, dtype };
}
