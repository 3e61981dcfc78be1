import { addedTokensOf, type OlderTokens, tokenOf } from './older-tokens.js';
import { template } from './tokenizer-json.js';

/** What tokenizer_config.json says of a tokenizer of BERT's kind. */
export interface WordPieceSettings {
  readonly lowercase: boolean;
  /** Undefined: as `lowercase`. */
  readonly stripAccents?: boolean;
  /** Whether each Chinese character is a word. */
  readonly splitChinese: boolean;
}

const ROLES = ['unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const;

/** Ids of a vocab.txt, a piece in each line: of equal ones the last counts. */
export function idsOfLines(text: string): ReadonlyMap<string, number> {
  const lines = text.split(/\r\n|\n|\r/);
  if (lines.at(-1) === '') lines.pop();
  return new Map(lines.map((piece, id) => [piece, id]));
}

/**
 * The vocabulary of a BERT as the tokenizer.json that Python's transformers makes of it.
 *
 * @throws TopKError FILE_CORRUPT for a vocabulary without the pieces for unknown words and around a text.
 */
export function tokenizerJsonOfWords(
  file: string,
  { lowercase, stripAccents, splitChinese }: WordPieceSettings,
  tokens: OlderTokens,
): string {
  const [unknown, start, end] = [
    tokenOf(file, tokens, 'unk_token'),
    tokenOf(file, tokens, 'cls_token'),
    tokenOf(file, tokens, 'sep_token'),
  ];
  return JSON.stringify({
    version: '1.0',
    added_tokens: addedTokensOf(tokens, ROLES),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: splitChinese,
      strip_accents: stripAccents ?? null,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: template(
      [
        [start, 0],
        ['A', 0],
        [end, 0],
      ],
      [
        [start, 0],
        ['A', 0],
        [end, 0],
        ['B', 1],
        [end, 1],
      ],
    ),
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: unknown.content,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.vocabulary),
    },
  });
}
