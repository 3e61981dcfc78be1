import { readFile } from 'node:fs/promises';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import {
  createEncoder,
  createTokenizer,
  loadEncoderParameters,
  type TextTokenizer,
} from '../../src/index.js';
import { tokenizerJsonOf } from '../../src/text/sentence-piece.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { folderOf } from './support.js';

/** A tokenizer of XLM-RoBERTa's kind: the pieces of a small T5 between <s> and </s>, and a mask that takes the space before it. */
async function xlmTokenizer(): Promise<{ tokenizer: TextTokenizer; start: number; mask: number }> {
  const spiece = await readFile(new URL('../goldens/older/spiece.model', import.meta.url));
  const definition = JSON.parse(tokenizerJsonOf('spiece.model', new Uint8Array(spiece), 0));
  const [start, mask] = [definition.model.vocab.length, definition.model.vocab.length + 1];
  definition.model.vocab.push(['<s>', 0], ['<mask>', 0]);
  const shared = { single_word: false, rstrip: false, normalized: false, special: true };
  definition.added_tokens.push(
    { ...shared, id: start, content: '<s>', lstrip: false },
    { ...shared, id: mask, content: '<mask>', lstrip: true },
  );
  definition.pre_tokenizer = {
    type: 'Sequence',
    pretokenizers: [{ type: 'WhitespaceSplit' }, definition.pre_tokenizer],
  };
  definition.post_processor.single.unshift({ SpecialToken: { id: '<s>', type_id: 0 } });
  definition.post_processor.special_tokens['<s>'] = { id: '<s>', ids: [start], tokens: ['<s>'] };
  return { tokenizer: createTokenizer(JSON.stringify(definition)), start, mask };
}

test('an encoder with a unigram tokenizer: masks and long texts, but no pairs', async () => {
  const backend = createReferenceBackend();
  const { tokenizer, start, mask } = await xlmTokenizer();
  const [where, is, the] = ['where', 'is', 'the'].map((word) => tokenizer.encode(word)[1] as number);
  expect(tokenizer.encode('where <mask> is the')).toEqual([start, where, mask, is, the, 1]);

  const task = 'fill-mask';
  const { config, parameters } = await loadEncoderParameters({ backend, source: folderOf('roberta'), task });
  const model = createEncoder(config, parameters, { tokenizer });
  await keepsNothing(backend, async () => {
    const ids = [start, where, mask, is, the, 1] as number[];
    expect(await model.fillMask(['where <mask> is the'])).toEqual(await model.fillMask([ids]));
    const cut = [start, ...Array.from({ length: config.maxTokens - 2 }, () => the), 1] as number[];
    expect(await model.embed(['the '.repeat(100)], { truncate: true })).toEqual(await model.embed([cut]));
    const pair = errorOf(model.embed([{ text: 'where', pair: 'the' }]));
    expect(await pair).toMatchObject({ code: 'UNSUPPORTED' });
  });
  model.dispose();
});
