export type { ByteSource } from './files/byte-source.js';
