#!/usr/bin/env node
'use strict';
require('../launch.cjs').launch('ctl_backups', __filename);
