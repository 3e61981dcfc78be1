import { TopKError } from '@topk-attention/core';
import type { LoadT5Options, T5 } from './t5.js';

/** A T5 from a Hugging Face folder. */
export async function loadT5(options: LoadT5Options): Promise<T5> {
  throw new TopKError('UNSUPPORTED', `loadT5: not there yet on ${options.backend.name}`);
}
