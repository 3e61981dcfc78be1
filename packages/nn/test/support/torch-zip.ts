/** A zip archive of stored entries, as torch.save writes it. `change` may spoil the numbers of an entry's headers. */
export function storedZip(
  entries: readonly (readonly [name: string, content: Uint8Array])[],
  change: { readonly method?: number; readonly size?: number; readonly header?: number } = {},
): Uint8Array {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, content] of entries) {
    const text = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt32LE(content.length, 18);
    local.writeUInt32LE(content.length, 22);
    local.writeUInt16LE(text.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(change.method ?? 0, 10);
    central.writeUInt32LE(content.length, 20);
    central.writeUInt32LE(change.size ?? content.length, 24);
    central.writeUInt16LE(text.length, 28);
    central.writeUInt32LE(change.header ?? at, 42);
    parts.push(local, text, Buffer.from(content));
    directory.push(central, text);
    at += 30 + text.length + content.length;
  }
  const whole = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(whole.length, 12);
  end.writeUInt32LE(at, 16);
  return new Uint8Array(Buffer.concat([...parts, whole, end]));
}

/** An archive of torch.save with this pickle and storages. */
export function torchZip(
  pickle: Uint8Array,
  storages: { readonly [key: string]: Uint8Array } = {},
): Uint8Array {
  const data = Object.entries(storages).map(([key, content]) => [`archive/data/${key}`, content] as const);
  return storedZip([['archive/data.pkl', pickle], ['archive/byteorder', Buffer.from('little')], ...data]);
}

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(5);
  head[0] = 0x58;
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
};
const whole = (value: number): Buffer => {
  // LONG1 of eight bytes.
  const bytes = Buffer.alloc(10);
  bytes[0] = 0x8a;
  bytes[1] = 8;
  bytes.writeBigInt64LE(BigInt(value), 2);
  return bytes;
};
const global = (name: string): Buffer => Buffer.from(`c${name.replace(' ', '\n')}\n`);
const tuple = (...items: Buffer[]): Buffer => Buffer.concat([Buffer.from('('), ...items, Buffer.from('t')]);

/** Pieces of pickles. */
export const op = { text, whole, global, tuple };

/** What a pickle says of a tensor. */
export interface PickledTensor {
  readonly storage?: string;
  readonly key?: string;
  readonly elements?: number;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
}

/** The pickle of a tensor of two f32. */
export function tensorOps(given: PickledTensor = {}): Buffer {
  const {
    storage = 'torch FloatStorage',
    key = '0',
    elements = 2,
    offset = 0,
    shape = [2],
    strides = [1],
  } = given;
  const id = tuple(text('storage'), global(storage), text(key), text('cpu'), whole(elements));
  const hooks = Buffer.concat([global('collections OrderedDict'), Buffer.from(')R')]);
  const args = tuple(
    Buffer.concat([id, Buffer.from('Q')]),
    whole(offset),
    tuple(...shape.map(whole)),
    tuple(...strides.map(whole)),
    Buffer.from([0x89]),
    hooks,
  );
  return Buffer.concat([global('torch._utils _rebuild_tensor_v2'), args, Buffer.from('R')]);
}

/** The pickle of a dict of values. */
export function dictOps(values: { readonly [name: string]: Buffer }): Buffer {
  const pairs = Object.entries(values).flatMap(([name, value]) => [text(name), value]);
  return Buffer.concat([Buffer.from([0x80, 2, 0x7d, 0x28]), ...pairs, Buffer.from('u.')]);
}
