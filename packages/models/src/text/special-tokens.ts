import { isObject } from './json-object.js';

/** Ids with the special tokens around them. */
export interface WrappedIds {
  readonly ids: readonly number[];
  /** The type (segment) of each. */
  readonly types: readonly number[];
  /** Where the first and the second text begin among the ids. */
  readonly firstAt: number;
  readonly secondAt: number;
}

/** Adds the special tokens around one text or a pair. */
export interface SpecialTokens {
  wrap(first: readonly number[], second?: readonly number[]): WrappedIds;
  /** Whether spaces at the edges of a token count as no part of it; how, for a text that may have got a space in front. */
  readonly trim: 'no' | 'all' | 'but-the-added';
}

/** Special ids, or one of the texts, with their type. */
interface Part {
  readonly ids: readonly number[] | 'A' | 'B';
  readonly type: number;
}

interface Template {
  readonly single: readonly Part[];
  readonly pair: readonly Part[];
}

/** The post-processor of a tokenizer.json; undefined for one that is not known here. */
export function readSpecialTokens(processor: unknown): SpecialTokens | undefined {
  const all = flattened(processor);
  let template: Template = plain;
  let trim: SpecialTokens['trim'] = 'no';
  for (const one of all) {
    if (!isObject(one)) return undefined;
    if (one.type === 'RobertaProcessing' || one.type === 'ByteLevel') {
      const trims = one.trim_offsets !== false;
      if (trims) trim = one.add_prefix_space === false ? 'all' : 'but-the-added';
    }
    if (one.type === 'ByteLevel') continue;
    const own = templateOf(one);
    if (own === undefined) return undefined;
    template = own;
  }
  return { trim, wrap: (first, second) => wrapped(template, first, second) };
}

const first: Part = { ids: 'A', type: 0 };
const plain: Template = { single: [first], pair: [first, { ids: 'B', type: 1 }] };

function flattened(processor: unknown): readonly unknown[] {
  if (processor === null || processor === undefined) return [];
  if (isObject(processor) && processor.type === 'Sequence' && Array.isArray(processor.processors)) {
    return processor.processors;
  }
  return [processor];
}

function templateOf(one: { readonly [key: string]: unknown }): Template | undefined {
  if (one.type === 'TemplateProcessing') {
    const single = partsOf(one.single, one.special_tokens);
    const pair = partsOf(one.pair, one.special_tokens);
    return single && pair && { single, pair };
  }
  const [cls, sep] = [idOf(one.cls), idOf(one.sep)];
  if (cls === undefined || sep === undefined) return undefined;
  const around = (type: number, ...ids: readonly number[]): Part => ({ ids, type });
  if (one.type === 'BertProcessing') {
    const single = [around(0, cls), first, around(0, sep)];
    return { single, pair: [...single, { ids: 'B', type: 1 }, around(1, sep)] };
  }
  if (one.type === 'RobertaProcessing') {
    const single = [around(0, cls), first, around(0, sep)];
    return { single, pair: [...single, around(0, sep), { ids: 'B', type: 0 }, around(0, sep)] };
  }
  return undefined;
}

/** The id of a ["[CLS]", 101]. */
function idOf(pair: unknown): number | undefined {
  return Array.isArray(pair) && typeof pair[1] === 'number' ? pair[1] : undefined;
}

function partsOf(list: unknown, specials: unknown): readonly Part[] | undefined {
  if (!Array.isArray(list)) return undefined;
  const parts: Part[] = [];
  for (const one of list as readonly unknown[]) {
    const [kind, about] = isObject(one) ? (Object.entries(one)[0] ?? []) : [];
    if (!isObject(about) || typeof about.type_id !== 'number') return undefined;
    const { id, type_id: type } = about;
    if (kind === 'Sequence' && (id === 'A' || id === 'B')) parts.push({ ids: id, type });
    else {
      const special = isObject(specials) && typeof id === 'string' ? specials[id] : undefined;
      const ids: unknown = isObject(special) ? special.ids : undefined;
      if (!Array.isArray(ids)) return undefined;
      parts.push({ ids: ids.map(Number), type });
    }
  }
  return parts;
}

function wrapped(
  template: Template,
  first: readonly number[],
  second: readonly number[] | undefined,
): WrappedIds {
  const ids: number[] = [];
  const types: number[] = [];
  const places = { A: 0, B: 0 };
  for (const { ids: part, type } of second === undefined ? template.single : template.pair) {
    if (typeof part === 'string') places[part] = ids.length;
    const own = part === 'A' ? first : part === 'B' ? (second ?? []) : part;
    for (const id of own) {
      ids.push(id);
      types.push(type);
    }
  }
  return { ids, types, firstAt: places.A, secondAt: places.B };
}
