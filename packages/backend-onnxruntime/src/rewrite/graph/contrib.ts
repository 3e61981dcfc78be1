import { CONTRIB } from '../../onnx/contrib.js';
import type { ModelProto } from '../../onnx/messages.js';

/** The operator that a block without a mask may become. */
export const MULTI_HEAD = 'com.microsoft.MultiHeadAttention';

/** A model that may have ONNX Runtime's own operators. */
export function withContrib(model: ModelProto): ModelProto {
  const isImported = model.opsetImport.some(({ domain }) => domain === CONTRIB.domain);
  return isImported ? model : { ...model, opsetImport: [...model.opsetImport, CONTRIB] };
}
