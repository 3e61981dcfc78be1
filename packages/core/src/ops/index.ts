export * from './create.js';
export * from './elementwise.js';
export * from './layout.js';
export * from './matmul.js';
export * from './reduce.js';
export * from './select.js';
export * from './write-at.js';
