import { TopKError } from '@topk-attention/core';

/** What tokenizer_config.json says of a tokenizer of BERT's kind. */
export interface WordPieceSettings {
  readonly lowercase: boolean;
  /** Undefined: as `lowercase`. */
  readonly stripAccents?: boolean;
  /** Whether each Chinese character is a word. */
  readonly splitChinese: boolean;
  readonly special: { readonly [role in 'unknown' | 'start' | 'end' | 'padding' | 'mask']: string };
}

/**
 * The contents of a vocab.txt of BERT, a piece in each line, as those of the tokenizer.json that Python's transformers makes
 * of it.
 *
 * @throws TopKError FILE_CORRUPT for a vocabulary without the pieces for unknown words and around a text.
 */
export function tokenizerJsonOfWords(file: string, text: string, settings: WordPieceSettings): string {
  const { lowercase, stripAccents = null, splitChinese, special } = settings;
  const lines = text.split(/\r\n|\n|\r/);
  if (lines.at(-1) === '') lines.pop();
  const ids = new Map(lines.map((piece, id) => [piece, id]));
  const idOf = (piece: string): number => {
    const id = ids.get(piece);
    if (id !== undefined) return id;
    throw new TopKError('FILE_CORRUPT', `${file}: no piece ${JSON.stringify(piece)}`, {
      expected: 'a vocabulary of BERT, with its special tokens',
      got: `${lines.length} lines without it`,
      fix: 'Save the tokenizer as tokenizer.json in Python, or name its special tokens in tokenizer_config.json',
    });
  };
  const around = [special.start, special.end].map((piece) => [piece, idOf(piece)] as const);
  const given = [special.unknown, ...around.map(([piece]) => piece), special.padding, special.mask];
  const [start, end] = around.map(([id]) => id) as [string, string];
  idOf(special.unknown);
  const token = (id: string, type: number): object => ({ SpecialToken: { id, type_id: type } });
  const sequence = (id: string, type: number): object => ({ Sequence: { id, type_id: type } });
  const single = [token(start, 0), sequence('A', 0), token(end, 0)];
  return JSON.stringify({
    version: '1.0',
    added_tokens: [...new Set(given)].flatMap((content) => {
      const id = ids.get(content);
      const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
      return id === undefined ? [] : [{ id, content, ...flags }];
    }),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: splitChinese,
      strip_accents: stripAccents,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single,
      pair: [...single, sequence('B', 1), token(end, 1)],
      special_tokens: Object.fromEntries(
        around.map(([piece, id]) => [piece, { id: piece, ids: [id], tokens: [piece] }]),
      ),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: special.unknown,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(ids),
    },
  });
}
