import { fill } from '../wgsl/fill.js';
import { text } from './columns.wgsl.js';

/** WGSL that reads columns of the buffer of that name, and that writes those of `y`. */
export const columnsText = (name: 'g' | 'x'): string => fill(text, { is_read: true, name });
export const storeColumnsText: string = fill(text, { is_read: false, name: 'y' });
