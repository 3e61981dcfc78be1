import type { StoredDType } from '../safetensors/stored-dtype.js';

/** The values of one storage that tensors share. */
export class Storage {
  readonly key: string;
  readonly dtype: StoredDType;
  readonly elements: number;

  constructor(key: string, dtype: StoredDType, elements: number) {
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
  }
}

/** A tensor over a storage; offset and strides count elements. */
export class TorchTensor {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];

  constructor(storage: Storage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** A name of Python. It stands for nothing but itself: names are compared, never looked up. */
export class PythonName {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** Python's tuple. */
export class Tuple {
  readonly items: readonly Value[];

  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** A dict: pairs in the order in which they were set. */
export class Dict {
  readonly entries: Map<Value, Value> = new Map();
}

/** What a pickle of weights is made of. */
export type Value =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | Value[]
  | Tuple
  | Dict
  | PythonName
  | Storage
  | TorchTensor;
