import { type FileSource, readOptionalText, readText } from '@topk-attention/nn';
import { createByteTokenizer } from '../text/byte-tokenizer.js';
import { createTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { readConfig } from './config-reader.js';
import { TOKENIZER, TOKENIZER_CONFIG } from './files.js';

/** The tokenizer of a folder. @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT. */
export async function readTokenizer(source: FileSource): Promise<TextTokenizer> {
  const config = await readOptionalText(source, TOKENIZER_CONFIG);
  const definition = await readOptionalText(source, TOKENIZER);
  if (definition === undefined && config !== undefined) {
    const bytes = readByteTokenizer(config, `${source.name}: ${TOKENIZER_CONFIG}`);
    if (bytes !== undefined) return bytes;
  }
  return createTokenizer(
    definition ??
      (await readText(
        source,
        TOKENIZER,
        'Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...), or pass tokenizer: false to work with token ids',
      )),
    config,
  );
}

/** ByT5's tokenizer, which needs no file, where tokenizer_config.json names it. */
function readByteTokenizer(config: string, file: string): TextTokenizer | undefined {
  const read = readConfig(config, file);
  if (read.value('tokenizer_class') !== 'ByT5Tokenizer') return undefined;
  return createByteTokenizer({ extraIds: read.whole('extra_ids', 0, 125) });
}
