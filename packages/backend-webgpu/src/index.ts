export { type AcquireOptions, acquireDevice } from './runtime/acquire.js';
