import { describeValue, TopKError } from '@topk-attention/core';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { GenerateOptions } from './options.js';

/** A source text, or its token ids with the end-of-sequence id. */
export type SourceInput = string | readonly number[];

/**
 * Token ids of each source.
 *
 * @throws TopKError INVALID_OPTION for anything but a batch, and for text without a tokenizer; ABORTED.
 */
export async function promptIds(
  where: string,
  tokenizer: TextTokenizer | undefined,
  sources: readonly SourceInput[],
  { signal, onProgress }: Pick<GenerateOptions, 'signal' | 'onProgress'>,
): Promise<readonly (readonly number[])[]> {
  if (!Array.isArray(sources)) {
    throw new TopKError('INVALID_OPTION', `${where}: not a batch`, {
      expected: 'a list of texts or of lists of token ids',
      got: describeValue(sources),
    });
  }
  const rows: (readonly number[])[] = [];
  for (const source of sources) {
    if (typeof source !== 'string') rows.push(source);
    else if (tokenizer !== undefined) {
      const options = { ...(signal && { signal }), ...(onProgress && { onProgress }) };
      rows.push(await tokenizer.encodeAsync(source, options));
    } else {
      throw new TopKError('INVALID_OPTION', `${where}: the model has no tokenizer`, {
        expected: 'token ids',
        got: 'text',
        fix: 'Load without tokenizer: false',
      });
    }
  }
  return rows;
}
