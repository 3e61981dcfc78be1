import { Tokenizer } from '@huggingface/tokenizers';
import { TopKError } from '@topk-attention/core';

/** Text to token ids and back. */
export interface TextTokenizer {
  /** Ids with the special tokens that the tokenizer adds: T5's end of sequence. */
  encode(text: string): number[];
  /** Text without special tokens; spaces are left as the tokenizer's decoder makes them. */
  decode(ids: readonly number[]): string;
}

/**
 * A tokenizer from the contents of tokenizer.json and, where there is one, tokenizer_config.json.
 *
 * @throws TopKError FILE_CORRUPT when a file is not what it should be.
 */
export function createTokenizer(tokenizerJson: string, tokenizerConfig = '{}'): TextTokenizer {
  const definition = parse(tokenizerJson, 'tokenizer.json');
  const config = parse(tokenizerConfig, 'tokenizer_config.json');
  let tokenizer: Tokenizer;
  try {
    tokenizer = new Tokenizer(definition, config);
  } catch (cause) {
    throw corrupt('tokenizer.json', 'not a tokenizer definition', cause);
  }
  return {
    encode: (text) => tokenizer.encode(text).ids,
    // The library throws on an empty list.
    decode: (ids) =>
      ids.length === 0
        ? ''
        : tokenizer.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
  };
}

function parse(text: string, file: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(file, 'not JSON', cause);
  }
  if (typeof value === 'object' && value !== null) return value;
  throw corrupt(file, 'not a JSON object');
}

function corrupt(file: string, what: string, cause?: unknown): TopKError {
  return new TopKError('FILE_CORRUPT', `${file}: ${what}`, {
    fix: 'Use the tokenizer.json that belongs to the model; .model files are not read',
    cause,
  });
}
