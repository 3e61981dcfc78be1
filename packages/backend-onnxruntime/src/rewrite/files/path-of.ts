import { describeValue, TopKError } from '@topk-attention/core';
import { nodeModules } from './node-modules.js';

/** @throws TopKError INVALID_OPTION for anything but a path and a file URL. */
export async function pathOf(where: string, name: string, place: unknown): Promise<string> {
  if (typeof place === 'string' && place !== '') return place;
  if (place instanceof URL && place.protocol === 'file:') {
    const { url } = await nodeModules(where);
    return url.fileURLToPath(place);
  }
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a path or a file URL',
    got: place instanceof URL ? place.protocol : describeValue(place),
  });
}
