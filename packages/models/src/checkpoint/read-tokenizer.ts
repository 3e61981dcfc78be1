import { type FileSource, readOptionalText, readText } from '@topk-attention/nn';
import { createTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { TOKENIZER, TOKENIZER_CONFIG } from './files.js';

/** The tokenizer of a folder. @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT. */
export async function readTokenizer(source: FileSource): Promise<TextTokenizer> {
  const definition = await readText(
    source,
    TOKENIZER,
    'Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...), or pass tokenizer: false to work with token ids',
  );
  return createTokenizer(definition, await readOptionalText(source, TOKENIZER_CONFIG));
}
