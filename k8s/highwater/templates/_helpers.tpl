{{/* Name of the chart as a label. */}}
{{- define "highwater.name" -}}
{{- default .Chart.Name .Values.nameOverride | toString | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/*
Name of every object. 52 characters, since Kubernetes appends to names of StatefulSets and CronJobs.
Names of Services have to begin with a letter.
*/}}
{{- define "highwater.fullname" -}}
{{- $name := include "highwater.name" . -}}
{{- $full := .Values.fullnameOverride | toString -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if regexMatch "^[^a-z]" $full -}}{{- $full = printf "hw-%s" $full -}}{{- end -}}
{{- $full | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* What tells the pods of this release; never changed, since selectors cannot be. */}}
{{- define "highwater.selector" -}}
app.kubernetes.io/name: {{ include "highwater.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "highwater.labels" -}}
{{ include "highwater.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- range $key, $value := .Values.commonLabels }}
{{ $key }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "highwater.image" -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
{{- end -}}
{{- end }}

{{- define "highwater.configMap" -}}
{{ default (include "highwater.fullname" .) .Values.existingConfigMap | quote }}
{{- end }}

{{- define "highwater.storeClaim" -}}
{{ printf "data-%s-0" (include "highwater.fullname" .) | quote }}
{{- end }}

{{- define "highwater.backupClaim" -}}
{{ default (printf "%s-backup" (include "highwater.fullname" .)) .Values.backup.existingClaim | quote }}
{{- end }}

{{/* What every pod of the chart has: identity, security, placement. */}}
{{- define "highwater.pod" -}}
serviceAccountName: {{ include "highwater.fullname" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "highwater.container" -}}
image: {{ include "highwater.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Placement beside the fleet's pod: its volume can be mounted on one node only. */}}
{{- define "highwater.besideFleet" -}}
affinity:
  podAffinity:
    {{ if .Values.running }}required{{ else }}preferred{{ end }}DuringSchedulingIgnoredDuringExecution:
      {{- if .Values.running }}
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "highwater.selector" . | nindent 12 }}
            app.kubernetes.io/component: "fleet"
      {{- else }}
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "highwater.selector" . | nindent 14 }}
              app.kubernetes.io/component: "fleet"
      {{- end }}
{{- end }}

{{- define "highwater.environment" -}}
env:
  - name: FLEET_CONFIG
    value: /etc/highwater/fleet.toml
  - name: FLEET_OUTPUT
    value: /var/lib/highwater/out
  - name: HOME
    value: /tmp
  {{- with .Values.migrate }}
  - name: FLEET_MIGRATE
    value: {{ . | quote }}
  {{- end }}
  {{- range $name, $value := .Values.env }}
  - name: {{ $name | quote }}
    value: {{ $value | toString | quote }}
  {{- end }}
{{- with .Values.secretEnv }}
envFrom:
  {{- range . }}
  - secretRef:
      name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Mistakes that a schema cannot see. */}}
{{- define "highwater.check" -}}
{{- if not (or .Values.fleet .Values.existingConfigMap) -}}
{{- fail "fleet: the text of fleet.toml is needed; helm install ... --set-file fleet=fleet.toml, or name an existingConfigMap" -}}
{{- end -}}
{{- if and .Values.store.create .Release.IsUpgrade -}}
{{- fail "store.create: only for the first installation; leave it out of an upgrade, or an emptied volume would begin anew in silence" -}}
{{- end -}}
{{- if and .Values.restore.backup (not .Values.backup.enabled) -}}
{{- fail "restore.backup: needs backup.enabled, whose volume holds the backup" -}}
{{- end -}}
{{- if and .Values.replay.enabled (not .Values.replay.claim) -}}
{{- fail "replay.claim: name the claim that holds the recording" -}}
{{- end -}}
{{- end }}
