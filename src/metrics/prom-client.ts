/**
 * What is used of prom-client. The package as a whole brings metrics of its own, a client of the Pushgateway and
 * OpenTelemetry along: 18 MB of memory and 45 ms of CPU time in each process.
 */
import { createRequire } from 'node:module';
import type * as promClient from 'prom-client';

const require = createRequire(import.meta.url);

export const Counter = require('prom-client/lib/counter') as typeof promClient.Counter;
export type Counter<L extends string = string> = promClient.Counter<L>;

export const Gauge = require('prom-client/lib/gauge') as typeof promClient.Gauge;
export type Gauge<L extends string = string> = promClient.Gauge<L>;

export const Histogram = require('prom-client/lib/histogram') as typeof promClient.Histogram;
export type Histogram<L extends string = string> = promClient.Histogram<L>;

export const Registry = require('prom-client/lib/registry') as typeof promClient.Registry;
export type Registry = promClient.Registry;
