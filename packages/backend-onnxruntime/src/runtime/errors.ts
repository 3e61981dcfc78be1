import { TopKError } from '@topk-attention/core';
import { toEngineError } from '@topk-attention/core/backend';

/** What the engine threw, as a typed error. */
export function engineError(error: unknown, where: string): TopKError {
  const wrapped = toEngineError(error, `onnxruntime: ${where}`);
  if (wrapped.code !== 'ENGINE_FAILURE' || !/device\b.{0,20}\blost/i.test(wrapped.message)) return wrapped;
  return new TopKError('DEVICE_LOST', wrapped.message, {
    cause: error,
    fix: 'Create a new backend and upload the tensors again',
  });
}

/** The error for any use of a backend after `dispose()`. */
export function usedAfterDispose(): TopKError {
  return new TopKError('DISPOSED', 'onnxruntime: the backend was used after dispose()', {
    fix: 'Create a new backend',
  });
}
