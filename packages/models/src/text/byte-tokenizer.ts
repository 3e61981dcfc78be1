import { aNumber, describeValue, type OptionKinds, readOptions, TopKError } from '@topk-attention/core';
import { Interruption } from '../interruption.js';
import { checkIds, checkText, encodeKinds, type TextTokenizer } from './tokenizer.js';

export interface ByteTokenizerOptions {
  /** How many `<extra_id_N>` there are, with ids from 259 on. Default 125, as in the published ByT5. */
  readonly extraIds?: number;
}

const kinds: OptionKinds<ByteTokenizerOptions> = { extraIds: aNumber };

/** Ids before those of the bytes, by their names in a text. */
const SPECIAL = ['<pad>', '</s>', '<unk>'];
const END = 1;
const OFFSET = SPECIAL.length;
const BYTES = 256;

const NAMES = new RegExp(`(${SPECIAL.join('|')}|<extra_id_\\d+>)`);

/**
 * The tokenizer of ByT5, which has no file: texts are their UTF-8 bytes, byte b is id b + 3, and every text ends with `</s>`.
 * The name of a special token in a text is that token; `<extra_id_N>` is id 259 + N. Bytes that make no character are left
 * out of a decoded text.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const tokenizer = createByteTokenizer();
 * const ids = tokenizer.encode('hé'); // [107, 198, 172, 1]
 */
export function createByteTokenizer(options?: ByteTokenizerOptions): TextTokenizer {
  const { extraIds = 125 } = readOptions('createByteTokenizer', options, kinds);
  if (!Number.isSafeInteger(extraIds) || extraIds < 0) {
    throw new TopKError('INVALID_OPTION', 'createByteTokenizer: bad extraIds', {
      expected: 'a whole number from 0',
      got: describeValue(extraIds),
    });
  }
  return {
    encode(text) {
      checkText('encode', text);
      return idsOf(text, extraIds);
    },
    async encodeAsync(text, given = {}) {
      checkText('encodeAsync', text);
      // Linear and quick: there is nothing to break off.
      new Interruption('encodeAsync', readOptions('encodeAsync', given, encodeKinds).signal);
      return idsOf(text, extraIds);
    },
    decode(ids) {
      checkIds(ids);
      const bytes = Array.from(ids, (id) => id - OFFSET).filter((byte) => byte >= 0 && byte < BYTES);
      return validText(Uint8Array.from(bytes));
    },
  };
}

function idsOf(text: string, extraIds: number): number[] {
  const ids: number[] = [];
  const parts = text.split(NAMES);
  const isSpecial = (at: number): boolean => SPECIAL.includes(parts[at] ?? '');
  for (const [at, part] of parts.entries()) {
    const named = idOf(part, extraIds);
    if (named !== undefined) {
      ids.push(named);
      continue;
    }
    // Spaces around special tokens go with them. Not in the pattern, which would take time with the square of their number.
    const since = isSpecial(at - 1) ? part.trimStart() : part;
    const own = isSpecial(at + 1) ? since.trimEnd() : since;
    for (const byte of new TextEncoder().encode(own)) ids.push(byte + OFFSET);
  }
  if (ids.at(-1) !== END) ids.push(END);
  return ids;
}

/** The id of a part that is the name of a token. */
function idOf(part: string, extraIds: number): number | undefined {
  const special = SPECIAL.indexOf(part);
  if (special !== -1) return special;
  const [, digits] = /^<extra_id_(0|[1-9]\d*)>$/.exec(part) ?? [];
  return digits !== undefined && Number(digits) < extraIds ? OFFSET + BYTES + Number(digits) : undefined;
}

/** The characters that bytes hold, without those of broken ones. */
function validText(bytes: Uint8Array): string {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const parts: string[] = [];
  let from = 0;
  // A decoder puts U+FFFD in place of broken bytes; where it stands in the text itself, it is cut out before.
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== 0xef || bytes[at + 1] !== 0xbf || bytes[at + 2] !== 0xbd) continue;
    parts.push(decoder.decode(bytes.subarray(from, at)));
    from = at + 3;
  }
  parts.push(decoder.decode(bytes.subarray(from)));
  return parts.map((part) => part.replaceAll('\uFFFD', '')).join('\uFFFD');
}
