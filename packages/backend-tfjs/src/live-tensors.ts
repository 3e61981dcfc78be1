import type { TfjsTensor } from './tensor.js';

/** Data behind one or several tensors. */
interface Storage {
  readonly bytes: number;
  views: number;
  /** tf's ids for it: tfjs-node gives each view its own. */
  readonly dataIds: Set<object>;
}

/** The unreleased tensors of a backend and the bytes of their data, which count once for all views of it. */
export class LiveTensors {
  readonly #storages = new Map<object, Storage>();
  readonly #alive = new Map<TfjsTensor, { readonly storage: Storage; readonly isBorrowed: boolean }>();
  readonly #boolBytes: number;
  #bytes = 0;
  #peak = 0;

  /** @param boolBytes what the engine stores a bool in */
  constructor(boolBytes = 1) {
    this.#boolBytes = boolBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The most bytes since creation or `resetPeak`. */
  get peak(): number {
    return this.#peak;
  }

  resetPeak(): void {
    this.#peak = this.#bytes;
  }

  /** Adds a tensor that the backend owns; `viewOf` is the tensor it shares its data with, if tf does not report it. */
  own(handle: TfjsTensor, viewOf?: TfjsTensor): void {
    const bytes = handle.tensor.size * (handle.dtype === 'bool' ? this.#boolBytes : 4);
    const shared = viewOf && this.#alive.get(viewOf)?.storage;
    this.#add(handle, shared ?? this.#storageOf(handle, bytes), false);
  }

  /** Adds a tensor that the caller owns: its bytes are not counted, and it is never disposed of. */
  borrow(handle: TfjsTensor): void {
    this.#add(handle, this.#storageOf(handle, 0), true);
  }

  /** Drops a tensor. Does nothing the second time, and for tensors of other backends. */
  release(handle: TfjsTensor): void {
    const entry = this.#alive.get(handle);
    if (entry === undefined) return;
    this.#alive.delete(handle);
    const { storage, isBorrowed } = entry;
    if (--storage.views === 0) {
      for (const dataId of storage.dataIds) this.#storages.delete(dataId);
      this.#bytes -= storage.bytes;
    }
    if (!isBorrowed) handle.tensor.dispose();
  }

  releaseAll(): void {
    for (const handle of [...this.#alive.keys()]) this.release(handle);
  }

  #storageOf({ tensor }: TfjsTensor, bytes: number): Storage {
    return this.#storages.get(tensor.dataId) ?? { bytes, views: 0, dataIds: new Set() };
  }

  #add(handle: TfjsTensor, storage: Storage, isBorrowed: boolean): void {
    const { dataId } = handle.tensor;
    this.#storages.set(dataId, storage);
    storage.dataIds.add(dataId);
    if (storage.views++ === 0) {
      this.#bytes += storage.bytes;
      this.#peak = Math.max(this.#peak, this.#bytes);
    }
    this.#alive.set(handle, { storage, isBorrowed });
  }
}
