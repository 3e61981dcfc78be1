// Opens model.safetensors of org/name and prints its SHA-256: `hub-child.mjs CACHE ENDPOINT`.
import { createHash } from 'node:crypto';
import { hub } from '@topk-attention/models';

const [cacheDir, endpoint] = process.argv.slice(2);
const file = await hub('org/name', { cacheDir, endpoint }).open('model.safetensors');
console.log(
  createHash('sha256')
    .update(await file.read(0, file.size))
    .digest('hex'),
);
await file.close();
