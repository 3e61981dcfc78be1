import type { TopKError } from '@topk-attention/core';
import { call, isCount, pythonName, storageOf } from './build.js';
import { corrupt, unsafe, unsupported } from './faults.js';
import { Dict, Tuple, type Value } from './values.js';

/**
 * Opcodes of a pickle: a tensor takes fifty, so that forty thousand tensors have room. One byte of a file can make a dict;
 * so many of them take 450 MB.
 */
const MAX_STEPS = 2 ** 21;

/** The pickle goes on behind the bytes that are there. */
export class NeedsMore extends Error {}

/** The end of a pickle, and what it holds. */
export interface Unpickled {
  readonly value: Value;
  /** First byte behind it. */
  readonly end: number;
}

/**
 * Reads one pickle of weights. Of the machine that a pickle is a program for, only what torch.save uses for plain tensors is
 * here: values, and calls of a handful of names that are compared with a list. Nothing is looked up, imported or run.
 *
 * @throws TopKError UNSAFE_FILE, FILE_CORRUPT, UNSUPPORTED; NeedsMore
 */
export function unpickle(file: string, bytes: Uint8Array, start = 0): Unpickled {
  return new Machine(file, bytes, start).run();
}

class Machine {
  readonly #file: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #text = new TextDecoder('utf-8', { fatal: true });
  readonly #memo = new Map<number, Value>();
  /** Lengths of the stack where a mark was set. */
  readonly #marks: number[] = [];
  readonly #stack: Value[] = [];
  #at: number;

  constructor(file: string, bytes: Uint8Array, start: number) {
    this.#file = file;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = start;
  }

  run(): Unpickled {
    for (let steps = 0; ; steps++) {
      if (steps === MAX_STEPS)
        throw unsupported(this.#file, 'the pickle is too long', `over ${MAX_STEPS} steps`);
      const opcode = this.#byte();
      if (opcode === 0x2e) {
        if (this.#stack.length !== 1 || this.#marks.length !== 0) throw this.#bad('one value at the end');
        return { value: this.#stack[0], end: this.#at };
      }
      this.#step(opcode);
    }
  }

  #step(opcode: number): void {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.#byte() > 5) throw this.#bad('a protocol up to 5');
        break;
      case 0x95: // FRAME
        this.#take(8);
        break;
      case 0x28: // MARK
        this.#marks.push(this.#stack.length);
        break;
      case 0x4e: // NONE
        this.#push(null);
        break;
      case 0x88: // NEWTRUE
        this.#push(true);
        break;
      case 0x89: // NEWFALSE
        this.#push(false);
        break;
      case 0x4a: // BININT
        this.#push(this.#view.getInt32(this.#take(4), true));
        break;
      case 0x4b: // BININT1
        this.#push(this.#byte());
        break;
      case 0x4d: // BININT2
        this.#push(this.#view.getUint16(this.#take(2), true));
        break;
      case 0x8a: // LONG1
        this.#push(this.#long(this.#byte()));
        break;
      case 0x47: // BINFLOAT
        this.#push(this.#view.getFloat64(this.#take(8)));
        break;
      case 0x58: // BINUNICODE
        this.#push(this.#string(this.#view.getUint32(this.#take(4), true)));
        break;
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING
        this.#push(this.#string(this.#byte()));
        break;
      case 0x29: // EMPTY_TUPLE
        this.#push(new Tuple([]));
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.#push(new Tuple(this.#pop(opcode - 0x84)));
        break;
      case 0x74: // TUPLE
        this.#push(new Tuple(this.#popMark()));
        break;
      case 0x5d: // EMPTY_LIST
        this.#push([]);
        break;
      case 0x61: // APPEND
        this.#append(this.#pop(1));
        break;
      case 0x65: // APPENDS
        this.#append(this.#popMark());
        break;
      case 0x7d: // EMPTY_DICT
        this.#push(new Dict());
        break;
      case 0x73: // SETITEM
        this.#set(this.#pop(2));
        break;
      case 0x75: // SETITEMS
        this.#set(this.#popMark());
        break;
      case 0x71: // BINPUT
        this.#keep(this.#byte());
        break;
      case 0x72: // LONG_BINPUT
        this.#keep(this.#view.getUint32(this.#take(4), true));
        break;
      case 0x94: // MEMOIZE
        this.#keep(this.#memo.size);
        break;
      case 0x68: // BINGET
        this.#recall(this.#byte());
        break;
      case 0x6a: // LONG_BINGET
        this.#recall(this.#view.getUint32(this.#take(4), true));
        break;
      case 0x63: // GLOBAL
        this.#push(pythonName(this.#file, this.#line(), this.#line()));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#pop(2);
        if (typeof module !== 'string' || typeof name !== 'string') throw this.#bad('a name');
        this.#push(pythonName(this.#file, module, name));
        break;
      }
      case 0x52: {
        // REDUCE
        const [callee, args] = this.#pop(2);
        this.#push(call(this.#file, callee, args));
        break;
      }
      case 0x51: // BINPERSID
        this.#push(storageOf(this.#file, this.#pop(1)[0]));
        break;
      case 0x62: // BUILD
        // A state_dict carries its _metadata as an attribute; no weight is in it.
        this.#pop(1);
        if (!(this.#top() instanceof Dict))
          throw unsafe(this.#file, 'the pickle sets the state of an object', 'no dict');
        break;
      default:
        throw unsafe(
          this.#file,
          'the pickle does something that weights do not need',
          `opcode 0x${opcode.toString(16)}`,
        );
    }
  }

  #push(value: Value): void {
    this.#stack.push(value);
  }

  /** The last `count` values above the last mark. */
  #pop(count: number): Value[] {
    if (this.#stack.length - count < (this.#marks.at(-1) ?? 0)) throw this.#bad('a value on the stack');
    return this.#stack.splice(this.#stack.length - count);
  }

  #popMark(): Value[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.#bad('a mark');
    return this.#stack.splice(mark);
  }

  #top(): Value {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw this.#bad('a value on the stack');
    return this.#stack.at(-1);
  }

  #append(values: readonly Value[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw this.#bad('a list');
    for (const value of values) list.push(value);
  }

  #set(values: readonly Value[]): void {
    const dict = this.#top();
    if (!(dict instanceof Dict) || values.length % 2 !== 0) throw this.#bad('a dict, and keys with values');
    for (let i = 0; i < values.length; i += 2) dict.entries.set(values[i], values[i + 1]);
  }

  #keep(index: number): void {
    this.#memo.set(index, this.#top());
  }

  #recall(index: number): void {
    if (!this.#memo.has(index)) throw this.#bad('a value that was kept before');
    this.#push(this.#memo.get(index));
  }

  /** Moves past `length` bytes; gives where they begin. */
  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new NeedsMore();
    this.#at = at + length;
    return at;
  }

  #byte(): number {
    return this.#bytes[this.#take(1)] as number;
  }

  #string(length: number): string {
    const at = this.#take(length);
    try {
      return this.#text.decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw this.#bad('text in UTF-8');
    }
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end === -1) throw new NeedsMore();
    const line = this.#string(end - this.#at);
    this.#take(1);
    return line;
  }

  /** A whole number of so many bytes, in two's complement. */
  #long(length: number): number | bigint {
    const at = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[at + i] as number);
    value = BigInt.asIntN(8 * length, value);
    const number = Number(value);
    return isCount(number) ? number : value;
  }

  #bad(expected: string): TopKError {
    return corrupt(this.#file, 'the pickle is broken', expected, `something else at byte ${this.#at}`);
  }
}
